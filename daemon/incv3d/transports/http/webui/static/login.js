document.getElementById("wrong").hidden = location.search !== "?wrong";

// A link from another site leads here without the cookie (SameSite=Strict), but this page's own requests carry
// it: if it is valid, go on to the web UI.
if ((await fetch("/healthz")).status !== 401) location.replace("/");
