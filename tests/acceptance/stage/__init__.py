"""A Django app whose actors write down what they do, so that a checker can hold it against the database."""
