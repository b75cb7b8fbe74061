// Refreshes a page: fetches it every few seconds and replaces what changed. It fetches nothing while the page is hidden
// or the switch is off. What the reader points at, has ticked, selected or focused does not change under their hands:
// the page says how many rows are new, and shows them when it is let go or asked for.
"use strict";
{
    const SECONDS = 5;
    // A server that answers slowly is asked less often: after this many times the duration of its last answer.
    const TIMES_ANSWER = 10;
    const LONGEST_SECONDS = 120;
    const KEY = "callboard.live";
    const box = document.getElementById("live-switch");
    const note = document.getElementById("live-note");
    const HELD = ".action-select:checked, details.filter[open], #content :is(input, select, textarea):not(#live-switch):focus,"
        + " #content :is(a, button, summary):focus-visible";
    const POINTED_AT = ["#result_list tbody", ".live tr", ".live .alarm", ".live form", ".live summary", ".live .chart a"]
        .map((one) => one + ":hover").join(", ");
    const canHover = window.matchMedia("(hover: hover)");

    let fresh = null;
    let wait = SECONDS;

    const isHeld = function() {
        const selection = window.getSelection();
        return document.querySelector(HELD) !== null
            || (canHover.matches && document.querySelector(POINTED_AT) !== null)
            // Typed text would be lost.
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

    const rowsOf = (page) => page.querySelectorAll("#result_list tbody tr");
    const keysOf = function(page) {
        return Array.from(rowsOf(page), (row) => row.querySelector("th a, td a")?.getAttribute("href"));
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

    const say = function(text, action) {
        note.replaceChildren(...(text ? ["– " + text] : []), ...(action ? [" ", action] : []));
    };

    const link = function(text, url) {
        const found = document.createElement("a");
        found.href = url;
        found.textContent = text;
        return found;
    };

    const show = function() {
        const page = fresh;
        fresh = null;
        if (!page) {
            return;
        }
        replace(document.querySelector(".live"), page.querySelector(".live"));
        replace(document.querySelector(".chips"), page.querySelector(".chips"));
        if (document.getElementById("changelist")) {
            replaceRows(rowsOf(document), rowsOf(page));
        }
        say("");
    };

    // Ticked boxes stay ticked at their rows only if these stay where they are, so showing new rows is a new page.
    const offer = function() {
        const known = new Set(keysOf(document));
        const number = keysOf(fresh).filter((key) => !known.has(key)).length;
        if (number) {
            say("", link(number + " new", window.location.href));
        }
    };

    const refresh = async function() {
        const began = performance.now();
        const answer = await fetch(window.location.href, {cache: "no-store", redirect: "manual"});
        if (answer.type === "opaqueredirect") {
            say("You are logged out.", link("Log in", window.location.href));
            return;
        }
        if (!answer.ok) {
            throw new Error(answer.status);
        }
        fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        wait = Math.min(LONGEST_SECONDS, Math.max(SECONDS, TIMES_ANSWER * (performance.now() - began) / 1000));
        if (document.hidden || !box.checked) {
            fresh = null;
        } else if (isHeld()) {
            offer();
        } else {
            show();
        }
    };

    // On a phone the tabs are wider than the screen.
    document.querySelector("#tabs [aria-current]")?.scrollIntoView({block: "nearest", inline: "nearest"});

    const loop = async function() {
        if (!document.hidden && box.checked) {
            try {
                await refresh();
            } catch {
                wait = Math.min(LONGEST_SECONDS, 2 * wait);
                say("server not responding, retrying");
            }
        }
        window.setTimeout(loop, wait * 1000);
    };

    const letGo = function() {
        if (fresh && !isHeld()) {
            show();
        }
    };

    if (box) {
        box.checked = window.localStorage.getItem(KEY) !== "off";
        box.addEventListener("change", function() {
            window.localStorage.setItem(KEY, box.checked ? "on" : "off");
            say("");
        });
        document.addEventListener("pointermove", letGo, {passive: true});
        box.parentElement.hidden = false;
        window.setTimeout(loop, wait * 1000);
    }
}
