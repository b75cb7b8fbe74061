"""The form of a schedule: its definition, read and checked as the API does it."""

from collections.abc import Mapping
from typing import Any, cast

from django import forms
from django.utils import timezone

from tasks import registry
from tasks.admin.formatting import escape_invisible
from tasks.admin.payload_fields import JsonField
from tasks.admin.refusals import add_refusal
from tasks.contract.access import ADD_SCHEDULE, Caller
from tasks.contract.retry_bounds import retry_faults
from tasks.contract.schedules import checked_change, find_schedule, read_schedule
from tasks.contract.sight import Lens, sight_of
from tasks.errors import CallboardError, InvalidTask, NotAllowed
from tasks.lifecycle import schedules
from tasks.models import Schedule
from tasks.schedule_definition import OPTIONS, TIMING


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """A schedule's definition, of which ``cleaned_data`` has the change that the user may make."""

    #: The user who fills it in; the admin sets it.
    user: Any = None
    #: The version of the stored schedule that the change was checked with.
    checked_version: int | None = None

    actor = forms.ChoiceField()
    #: The version that the user saw.
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    class Meta:
        model = Schedule
        fields = (
            "name", "actor", "payload", "options", *TIMING, "jitter_seconds", "overlap", "catch_up",
            "catch_up_window_seconds", "pause_after_failures",
        )  # fmt: skip
        help_texts = {
            "options": f"More fields of its tasks, as JSON: any of {', '.join(OPTIONS)}.",
            "cron": "Minute, hour, day of month, month, day of week; six fields begin with seconds. Or leave it empty "
            "and give an interval.",
            "every_seconds": "Seconds from one fire to the next, instead of cron.",
            "timezone": "A time zone of IANA such as Europe/Berlin, in which cron is read.",
            "jitter_seconds": "Tasks start up to this long after the fire.",
            "overlap": "What happens at a fire while the last task has not ended.",
            "catch_up": "What happens to fires that came while no scheduler ran.",
            "catch_up_window_seconds": "Missed fires that are older are left out.",
            "pause_after_failures": "The schedule pauses itself when so many of its tasks died in a row.",
        }
        field_classes = {
            "payload": JsonField,
            "options": JsonField,
            "starts_at": forms.SplitDateTimeField,
            "ends_at": forms.SplitDateTimeField,
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["version"].initial = self.instance.version
        for name in {"starts_at", "ends_at"} & {*self.fields}:
            self.fields[name].help_text = f"In the zone {timezone.get_current_timezone_name()}."
        # The current one stays on offer: it may be missing from the code while a deploy lasts, or closed to the API.
        names = sorted(
            {spec.name for spec in registry.all_specs() if spec.is_open_to_api} | {self.instance.actor} - {""}
        )
        if "actor" in self.fields:
            cast(forms.ChoiceField, self.fields["actor"]).choices = [(one, escape_invisible(one)) for one in names]

    def clean(self) -> dict[str, Any]:
        """Read the definition as the API does, and put its errors beside the fields."""
        given = {name: value for name, value in (super().clean() or {}).items() if value not in (None, "")}
        if self.errors:
            return given
        version, options = given.pop("version", None), given.pop("options", {})
        if not isinstance(options, dict) or not {*options} <= {*OPTIONS}:
            raise forms.ValidationError({"options": f"Expected an object with any of {', '.join(OPTIONS)}."})
        times: dict[str, Any] = {name: given[name].isoformat() for name in ("starts_at", "ends_at") if name in given}
        try:
            name, definition = read_schedule({"name": self.instance.name, **options, **given, **times})
            return self._checked({"name": name, **definition}, version=version)
        except NotAllowed as refusal:
            message = f"You may not {ADD_SCHEDULE.words}: leave actor and payload as they are."
            raise forms.ValidationError(message) from refusal
        except CallboardError as refusal:
            add_refusal(self, refusal, parts_of=dict.fromkeys(OPTIONS, "options"))
            return given

    def _checked(self, change: dict[str, Any], *, version: int | None) -> dict[str, Any]:
        """Check what the schedule would be, and leave out what the user does not see or only sends back.

        Raises:
            InvalidTask: with one error per field.
            NotAllowed: other work would run, and the user may not add schedules.
            NotFound: the schedule was removed.
            ValidationError: somebody has changed it since the user opened it.
        """
        caller, before = Caller(self.user), Schedule()
        if not self.instance._state.adding:
            # As it is stored: the form's own has the payload as the user sees it.
            before = find_schedule(caller, str(self.instance.pk))
            if version not in (None, before.version):
                message = "Somebody has changed this schedule since you opened it. Open it again to see its values."
                raise forms.ValidationError(message)
            self.checked_version = before.version
            if "payload" not in self.fields:
                del change["payload"]
            lens = Lens(sight_of(caller)(before.owner_id), before)
            change = checked_change(change, schedule=before, caller=caller, lens=lens)
        after = before.definition | change
        schedules.check(Schedule(created_at=timezone.now(), **after))
        if (after["actor"], after["options"]) != (before.actor, before.options):
            _check_retries(after, caller=caller)
        return change


def _check_retries(definition: Mapping[str, Any], *, caller: Caller) -> None:
    spec = registry.get(definition["actor"])
    if errors := [*retry_faults(definition["options"], caller=caller, spec=spec)]:
        raise InvalidTask(errors=errors)
