"""The browsable pages of the API, for logged-in staff: the answer, and forms with a suggested body."""

import inspect
import json
from typing import Any

from rest_framework.renderers import BrowsableAPIRenderer

from tasks.api.permissions import action_of, caller_of


class Page(BrowsableAPIRenderer):
    """REST framework's page with Callboard's template; its forms start with the body that the view suggests."""

    template = "callboard/api/page.html"

    def get_context(self, data: Any, accepted_media_type: Any, renderer_context: Any) -> dict[str, Any]:
        """Add a line on each method; leave out code highlighting, whose inline style the page's policy forbids."""
        context: dict[str, Any] = super().get_context(data, accepted_media_type, renderer_context)
        view = context["view"]
        methods = [method for method in context["allowed_methods"] if method not in ("HEAD", "OPTIONS")]
        about = {method: inspect.getdoc(getattr(view, method.lower())) or "" for method in methods}
        lines = {method: text.splitlines()[0].replace("``", "") for method, text in about.items()}
        return context | {"code_style": "", "about": lines}

    def show_form_for_method(self, view: Any, method: str, request: Any, obj: Any) -> bool:
        """Offer what the user may do, to the row of this page if it is about one."""
        if method not in view.allowed_methods:
            return False
        action = action_of(request)
        return action is None or caller_of(request).may(action, owner_id=view.owner_id)

    def get_raw_data_form(self, data: Any, view: Any, method: str, request: Any) -> Any:
        """Fill the form with the view's suggestion, unless the answer has no body, as after a deletion."""
        form: Any = super().get_raw_data_form(data, view, method, request)
        body = view.suggested_body(method, data) if form and data else None
        if body is not None:
            form.fields["_content"].initial = json.dumps(body, indent=2, ensure_ascii=False)
        return form
