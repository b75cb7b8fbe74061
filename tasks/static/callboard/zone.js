// Tells the server the viewer's time zone, in which the next page shows its times.
"use strict";
{
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const secure = window.location.protocol === "https:" ? "; Secure" : "";
    if (zone) {
        document.cookie = "callboard_zone=" + zone + "; Path=/; Max-Age=31536000; SameSite=Lax" + secure;
    }
}
