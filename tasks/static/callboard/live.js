// Refreshes a page: fetches it every few seconds and replaces what changed. Pauses while the page is hidden, rows are
// ticked, text is selected or a field is in use, and while the switch is off.
"use strict";
{
    const SECONDS = 5;
    const KEY = "callboard.live";
    const box = document.getElementById("live-switch");
    const note = document.getElementById("live-note");

    const isInUse = function() {
        const selection = window.getSelection();
        return document.hidden
            || !box.checked
            || document.querySelector(".action-select:checked, details.filter[open]") !== null
            || document.querySelector("#content input:not(#live-switch):focus, #content textarea:focus, #content button:focus") !== null
            // What somebody has typed would be gone.
            || [...document.querySelectorAll(".live input:not([type=checkbox]), .live textarea")].some((field) => field.value !== field.defaultValue)
            || (selection !== null && !selection.isCollapsed);
    };

    const keyOf = function(details) {
        return details.id || details.querySelector("summary").textContent.trim();
    };

    const replace = function(mine, fresh) {
        if (!mine || !fresh) {
            return;
        }
        const open = new Map(Array.from(mine.querySelectorAll("details"), (one) => [keyOf(one), one.open]));
        mine.replaceChildren(...fresh.childNodes);
        mine.querySelectorAll("details").forEach(function(one) {
            one.open = open.get(keyOf(one)) ?? one.open;
        });
    };

    // The admin's script holds on to the first tick boxes, so these stay and the cells beside them are replaced.
    const replaceRows = function(mine, fresh) {
        if (mine.length !== fresh.length) {
            window.location.reload();
            return;
        }
        mine.forEach(function(row, index) {
            const box = row.querySelector(".action-select");
            if (box) {
                box.value = fresh[index].querySelector(".action-select").value;
            }
            row.querySelectorAll(":scope > :not(.action-checkbox)").forEach((cell) => cell.remove());
            row.append(...fresh[index].querySelectorAll(":scope > :not(.action-checkbox)"));
        });
    };

    const refresh = async function() {
        const answer = await fetch(window.location.href, {cache: "no-store", redirect: "error"});
        if (!answer.ok) {
            throw new Error(answer.status);
        }
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        if (isInUse()) {
            return;
        }
        replace(document.querySelector(".live"), page.querySelector(".live"));
        replace(document.querySelector(".chips"), page.querySelector(".chips"));
        if (document.getElementById("changelist")) {
            replaceRows(
                document.querySelectorAll("#result_list tbody tr"), page.querySelectorAll("#result_list tbody tr")
            );
        }
    };

    // On a phone the tabs are wider than the screen.
    document.querySelector("#tabs [aria-current]")?.scrollIntoView({block: "nearest", inline: "nearest"});

    const loop = async function() {
        if (!isInUse()) {
            try {
                await refresh();
                note.textContent = "";
            } catch {
                note.textContent = "– server not responding, retrying";
            }
        }
        window.setTimeout(loop, SECONDS * 1000);
    };

    if (box) {
        box.checked = window.localStorage.getItem(KEY) !== "off";
        box.addEventListener("change", () => window.localStorage.setItem(KEY, box.checked ? "on" : "off"));
        box.parentElement.hidden = false;
        window.setTimeout(loop, SECONDS * 1000);
    }
}
