"""Uses Callboard in the second project as code, API clients and operators do, and prints what came of it."""

import json
import os
import sys

import django

django.setup()

from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import Client
from shop.orders.actors.confirming import confirm
from shop.orders.models import Order
from shop.tasks.models import Task as ToDo

from callboard import submit
from tasks.lifecycle import Author, Submission, tokens
from tasks.models import Journal, Task
from tasks.models.journal import Door

api, admin = os.environ["SHOP_API"], os.environ["SHOP_ADMIN"]
found = {}

# Code: a message of an actor, a rollback, and a submission; beside them the shop's own rows.
Order.objects.create(number=1)
ToDo.objects.create(title="sweep")
with transaction.atomic():
    sent = confirm.send(7)
found["result"] = sent.get_result(block=True, timeout=30_000)
try:
    with transaction.atomic():
        ghost = confirm.send(8)
        raise LookupError
except LookupError:
    found["ghosts"] = Task.objects.filter(pk=ghost.message_id).count()
found["queue"] = submit(Submission(actor="confirm", payload={"order": 9})).queue

# The API, with a token of a plain user.
people = get_user_model()
boss = people.objects.create_superuser("boss@example.org", password="secret")
plain = people(**{people.USERNAME_FIELD: "ada@example.org"})
plain.save()
_, secret = tokens.issue(user=plain, name="till", by=Author(boss.get_username(), Door.CODE))
client = Client()
bearer = {"HTTP_AUTHORIZATION": f"Bearer {secret}", "content_type": "application/json"}
body = {"actor": "confirm", "payload": {"order": 1}}
keyed = {**bearer, "HTTP_IDEMPOTENCY_KEY": "one"}
first, again = (client.post(f"{api}/api/v1/tasks", body, **keyed) for _ in range(2))
found["submitted"] = [first.status_code, again.status_code, first.json()["id"] == again.json()["id"]]
found["location"] = first.headers["Location"]
found["own"] = client.get(f"{api}/api/v1/tasks/{first.json()['id']}", **bearer).status_code
found["of others"] = client.get(f"{api}/api/v1/tasks/{sent.message_id}", **bearer).status_code
wrong = client.post(f"{api}/api/v1/tasks", {**body, "payload": {"order": "x"}}, **bearer)
found["wrong"] = [wrong.status_code, wrong.headers["Content-Type"], wrong.json()["errors"][0]["field"]]
found["stranger"] = client.get(f"{api}/api/v1/tasks").status_code
found["servers"] = client.get(f"{api}/api/schema").json()["servers"]
found["probes"] = [client.get(f"{api}/{name}").status_code for name in ("healthz", "readyz", "api/docs")]

# Operators.
client.force_login(boss)
pages = ["callboard/task", "callboard/queue", "callboard/worker", "callboard/journal", "callboard/apitoken"]
pages += ["dlq/deadletter", f"callboard/task/{sent.message_id}/change", "callboard/apitoken/add"]
found["pages"] = {}
for page in pages:
    answer = client.get(f"{admin}/{page}/")
    found["pages"][page] = [answer.status_code, b"callboard/admin.css" in answer.content]
found["browsable"] = client.get(f"{api}/api/v1/tasks", HTTP_ACCEPT="text/html").status_code
found["journal"] = sorted(set(Journal.objects.values_list("by", "verb")))

# The shop's own pages and API.
found["not ours"] = client.get("/api/v1/orders").content.decode()
found["nowhere"] = client.get("/nowhere").headers["Content-Type"]

json.dump(found, sys.stdout, default=str)
