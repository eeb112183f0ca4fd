"use strict";

// Offers who has told no time zone that of their browser, where it is another one than UTC.
const offer = document.querySelector("[data-zone]"), zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (offer && zone && zone !== "UTC") {
  offer.elements.zone.value = zone;
  offer.querySelector("[data-zone-name]").textContent = zone;
  offer.hidden = false;
}
