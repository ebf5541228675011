document.getElementById("wrong").hidden = location.search !== "?wrong";

// Who follows a link from another site comes here without the cookie (SameSite=Strict), which the page's own
// requests carry.
if ((await fetch("/healthz")).status !== 401) location.replace("/");
