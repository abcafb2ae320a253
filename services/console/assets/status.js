// Brings the page up to date when something is said, at most every three seconds.
"use strict";
const EVERY_MS = 3000;
const main = document.getElementById("status");
const live = document.getElementById("live");
let wanted = false;
let underWay = false;

async function refresh() {
  if (!wanted || underWay) return;
  wanted = false;
  underWay = true;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.redirected) location.reload();
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.getElementById("status");
    if (fresh) main.replaceChildren(...fresh.childNodes);
  } catch {
    wanted = true;
  } finally {
    underWay = false;
  }
}

const source = new EventSource("/api/v1/events?tenant=" + encodeURIComponent(main.dataset.tenant));
for (const name of ["open", "health", "incident", "reset"]) {
  source.addEventListener(name, () => { wanted = true; });
}
source.onopen = () => { live.textContent = "Live."; };
source.onerror = () => { live.textContent = "Not live: trying to connect again."; };
setInterval(refresh, EVERY_MS);
