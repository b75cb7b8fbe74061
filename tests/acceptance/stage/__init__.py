"""A Django app whose actors record what they do, so that a checker can compare it with the database."""
