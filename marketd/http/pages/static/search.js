"use strict";

// Search as one types: the service writes the results, this puts them into the page. Without it there is a button.
const search = document.querySelector("[data-search]"), results = document.querySelector("[data-results]");
const said = document.querySelector("[data-said]");
let waiting = 0, asked = 0;

const look = async address => {
  const number = ++asked;
  const part = new URL(address);
  part.searchParams.set("part", "results");
  const answer = await fetch(part, {headers: {Accept: "text/html"}}).catch(() => null);
  if (number !== asked || !answer || !answer.ok) return;
  results.innerHTML = await answer.text();  // a part of a page of ours, as the service wrote it
  history.replaceState(null, "", address);
  const found = results.querySelector("[data-found]");
  if (found) said.textContent = found.textContent;
};

search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    const address = new URL(search.action), now = new URL(location.href);
    for (const name of ["category", "sort", "seller"]) if (now.searchParams.get(name)) address.searchParams.set(name, now.searchParams.get(name));
    if (search.elements.q.value.trim()) address.searchParams.set("q", search.elements.q.value.trim());
    look(address);
  }, 200);
});

results.addEventListener("change", event => {
  if (event.target.matches("[data-sort]")) event.target.form.requestSubmit();
});
