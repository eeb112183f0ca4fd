"use strict";

// Keeps a part of a page as it is now: asks for it anew every so often, or when the service says that there is news.
const FOCUSABLE = "a, summary, [tabindex]";

for (const place of document.querySelectorAll("[data-part]")) {
  let asking = false, again = false, shown = place.innerHTML.trim();

  const renew = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(place.dataset.part, {headers: {Accept: "text/html"}});
      if (answer.ok && !answer.redirected) take(await answer.text());
    } catch { /* the next time, then */ }
    asking = false;
    if (again) { again = false; renew(); }
  };

  const take = text => {
    const fresh = document.createElement("div");
    fresh.innerHTML = text.trim();  // a part of a page of ours, as the service wrote it
    if (fresh.querySelector("form[action$='/auth/sign-in']")) { location.reload(); return; }
    if (fresh.innerHTML === shown) return;
    shown = fresh.innerHTML;
    const open = [...place.querySelectorAll("details")].map(details => details.open);
    const focused = [...place.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
    place.replaceChildren(...fresh.childNodes);
    if (focused >= 0) place.querySelectorAll(FOCUSABLE)[focused]?.focus({preventScroll: true});
    place.querySelectorAll("details").forEach((details, index) => { details.open = Boolean(open[index]); });
    const said = document.querySelector("[data-live-said]");
    if (said && place.dataset.said) said.textContent = place.dataset.said;
  };

  if (place.dataset.every) setInterval(() => { if (!document.hidden) renew(); }, 1000 * Number(place.dataset.every));
  if (place.dataset.live) {
    const news = new EventSource(place.dataset.live);
    for (const name of ["begin", "news"]) news.addEventListener(name, renew);  // something may have come before it began
    addEventListener("pagehide", () => news.close());
  }
}
