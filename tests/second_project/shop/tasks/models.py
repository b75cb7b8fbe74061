from django.db import models


class Task(models.Model):
    """A to-do of the shop, in its table ``tasks_task``."""

    title = models.CharField(max_length=50)

    def __str__(self):
        return self.title
