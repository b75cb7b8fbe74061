"""What Dramatiq's own tests ask for, one behaviour for each case; ``test_count`` counts them.

The files are named after Dramatiq's. A case marked ``differs`` shows what happens here instead.
"""
