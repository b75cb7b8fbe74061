"""The pages of the API, for staff who is logged in: answers to look at, and bodies to send that are half written."""

import inspect
import json
from typing import Any

from rest_framework.renderers import BrowsableAPIRenderer


class Page(BrowsableAPIRenderer):
    """REST framework's page under our name, with what the view suggests as the body of its form."""

    template = "api/page.html"

    def get_context(self, data: Any, accepted_media_type: Any, renderer_context: Any) -> dict[str, Any]:
        """Add what each method does; leave out the colours of code, a style that the page's policy would refuse."""
        context: dict[str, Any] = super().get_context(data, accepted_media_type, renderer_context)
        view = context["view"]
        methods = [method for method in context["allowed_methods"] if method not in ("HEAD", "OPTIONS")]
        about = {method: inspect.getdoc(getattr(view, method.lower())) or "" for method in methods}
        return context | {"code_style": "", "about": {method: text.splitlines()[0] for method, text in about.items()}}

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        """Write the view's suggestion into the form; an answer without a body, of a removal, leads to none."""
        form: Any = super().get_raw_data_form(data, view, method, request)
        body = view.suggested_body(method, data) if form and data else None
        if body is not None:
            form.fields["_content"].initial = json.dumps(body, indent=2, ensure_ascii=False)
        return form
