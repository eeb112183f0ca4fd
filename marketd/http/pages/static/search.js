"use strict";

// Search as one types and narrows: the service writes the results, this puts them into the page. Without it there are
// buttons. What one types into stays as it is, so that nobody loses their place.
const search = document.querySelector("[data-search]"), said = document.querySelector("[data-said]");
let waiting = 0, asked = 0;

const look = async address => {
  const number = ++asked;
  const part = new URL(address);
  part.searchParams.set("part", "results");
  const answer = await fetch(part, {headers: {Accept: "text/html"}}).catch(() => null);
  if (number !== asked || !answer || !answer.ok) return;
  const fresh = document.createElement("div");
  fresh.innerHTML = await answer.text();  // a part of a page of ours, as the service wrote it
  for (const place of document.querySelectorAll("[data-fresh]")) {
    const found = fresh.querySelector(`[data-fresh="${place.dataset.fresh}"]`);
    if (found) place.replaceChildren(...found.childNodes);
  }
  history.replaceState(null, "", address);
  said.textContent = document.querySelector("[data-found]").textContent;
};

const wanted = () => {
  const address = new URL(search.action);
  for (const [name, text] of new FormData(search)) if (text.trim()) address.searchParams.set(name, text.trim());
  return address;
};

document.addEventListener("input", event => {
  if (event.target.form !== search) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => { if (search.checkValidity()) look(wanted()); }, 200);
});

search.addEventListener("submit", event => {
  event.preventDefault();
  location.assign(wanted());  // without what was left empty
});
