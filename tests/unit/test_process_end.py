"""The end of a process: what is to be called then is called in every process that ends in order."""

import subprocess
import sys

CHILD_AND_PARENT = """
import multiprocessing
from tasks.process_end import call_at_end

def tell(who):
    call_at_end(lambda: print(who, flush=True))

tell("parent")
child = multiprocessing.get_context("fork").Process(target=tell, args=["child"])
child.start()
child.join()
"""


def test_a_child_of_multiprocessing_and_its_parent_each_call_their_own_function_once() -> None:
    ended = subprocess.run([sys.executable, "-c", CHILD_AND_PARENT], capture_output=True, text=True, check=True)
    assert (ended.stdout.split(), ended.stderr) == (["child", "parent"], "")
