"use strict";

// A form that is sent is sent once; a page that waits for something looks again after a while.
for (const form of document.querySelectorAll("form[data-once]")) {
  form.addEventListener("submit", () => {
    setTimeout(() => { for (const button of form.querySelectorAll("button")) button.disabled = true; });
  });
  addEventListener("pageshow", () => { for (const button of form.querySelectorAll("button")) button.disabled = false; });
}
const waits = document.querySelector("[data-reload]");
if (waits) setTimeout(() => location.reload(), 1000 * Number(waits.dataset.reload));

// What was written into a form is there again for who had to sign in before it was taken.
const place = document.querySelector("[data-kept]"), written = place?.querySelector("form");
if (place) {
  const kept = sessionStorage.getItem(place.dataset.kept);
  sessionStorage.removeItem(place.dataset.kept);
  for (const [name, value] of written && kept ? JSON.parse(kept) : []) written.elements[name].value = value;
  written?.addEventListener("submit", () => {
    const fields = [...new FormData(written)].filter(([name]) => name !== "csrf");
    sessionStorage.setItem(place.dataset.kept, JSON.stringify(fields));
  });
}
