class Archive:
    """Keeps the shop's orders in another database."""

    def db_for_read(self, model, **hints):
        return "archive" if model._meta.app_label == "orders" else None

    db_for_write = db_for_read

    def allow_migrate(self, db, app_label, **hints):
        return (db == "archive") == (app_label == "orders")
