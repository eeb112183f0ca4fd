"use strict";

// The form of a product: sends each file by itself and shows how far it is, then the product; of one that there is
// already what was changed here, and only if nobody has changed it since the page was written.
const form = document.querySelector("form[data-product]");
const faults = form.querySelector("[data-faults]"), done = form.querySelector("[data-done]");
const progress = form.querySelector("[data-progress]"), bar = progress.querySelector("progress");
const percent = progress.querySelector("[data-percent]"), button = form.querySelector("[data-send]");
const tag = form.dataset.tag, isNew = tag === undefined;
const SAVED = "?saved";

const WORDS = {title: "Title", description: "Description", price: "Price", currency: "Currency", category: "Category",
  stock: "How many there are", licenceKeys: "Licence keys", files: "Files", previews: "Pictures"};

const typeOf = file => (file.type || "application/octet-stream").split(";")[0].toLowerCase();

const upload = (file, step) => new Promise((kept, failed) => {
  const request = new XMLHttpRequest();  // which tells how much has gone out; fetch does not
  request.open("POST", `${form.dataset.uploads}?name=${encodeURIComponent(file.name)}`);
  request.setRequestHeader("Content-Type", typeOf(file));
  request.setRequestHeader("X-CSRF-Token", form.dataset.csrf);
  request.upload.addEventListener("progress", event => step(event.loaded));
  request.addEventListener("load", () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
    if (request.status === 201) kept(answer);
    else failed(new Error(`${file.name}: ${answer.detail || "the upload failed"}`));
  });
  request.addEventListener("error", () => failed(new Error(`${file.name}: the connection broke off`)));
  request.send(file);
});

const uploadAll = async files => {
  const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
  const kept = [];
  let before = 0;
  progress.hidden = !files.length;
  for (const file of files) {
    kept.push(await upload(file, sent => {
      bar.value = Math.min(1, (before + sent) / total);
      percent.value = `${Math.floor(bar.value * 100)} %`;
    }));
    before += file.size;
  }
  return kept;
};

const complain = lines => {
  faults.replaceChildren(...lines.map(line => Object.assign(document.createElement("p"), {textContent: line})));
  faults.hidden = false;
  faults.scrollIntoView({block: "nearest"});
};

const mark = names => {
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  const wrong = [...form.elements].filter(field => names.includes(field.name));
  for (const field of wrong) field.setAttribute("aria-invalid", "true");
  wrong[0]?.focus();
};

const number = text => (/^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : text);

const written = () => {
  const fields = form.elements, product = {};
  const isChanged = name => fields[name].value !== fields[name].defaultValue;
  for (const name of ["title", "description", "category"]) if (isNew || isChanged(name)) product[name] = fields[name].value;
  if (isNew || isChanged("price")) product.price = number(fields.price.value);
  if (isNew || isChanged("currency")) product.currency = fields.currency.value.trim().toUpperCase();
  const stock = fields.stock.value.trim(), keys = fields.licenceKeys.value.split("\n").map(key => key.trim()).filter(Boolean);
  if (isChanged("stock")) product.stock = stock ? number(stock) : null;
  if (keys.length) product.licenceKeys = keys;
  return product;
};

form.addEventListener("submit", async event => {
  event.preventDefault();
  faults.hidden = true;
  if (done) done.hidden = true;
  mark([]);
  if (!form.checkValidity()) { form.reportValidity(); return; }
  button.disabled = true;
  try {
    const product = written();
    const files = [...form.elements.files.files], pictures = [...form.elements.previews.files];
    const kept = await uploadAll([...files, ...pictures]);
    if (files.length) product.files = kept.slice(0, files.length);
    if (pictures.length) product.previews = kept.slice(files.length).map(({name, type, url}) => ({name, type, url}));
    const answer = await fetch(form.dataset.product, {
      method: "POST",
      headers: {"Content-Type": "application/json", "X-CSRF-Token": form.dataset.csrf, ...(tag && {"If-Match": `"${tag}"`})},
      body: JSON.stringify(product),
    });
    const body = await answer.json();
    if (answer.status === 201) location.assign(form.dataset.base + body.page);
    else if (answer.ok) location.assign(form.dataset.base + body.page + SAVED);  // with what is so now, for the next change
    else if (answer.status === 412) complain(["This was changed meanwhile: load the page again."]);
    else {
      const nameOf = fault => fault.pointer.split("/")[1] || "";
      complain((body.errors || []).map(fault => `${WORDS[nameOf(fault)] || nameOf(fault) || "The product"}: ${fault.detail}`)
        .concat(body.errors ? [] : [body.detail]));
      mark((body.errors || []).map(nameOf).filter(Boolean));
    }
  } catch (error) {
    complain([error.message]);
  }
  progress.hidden = true;
  button.disabled = false;
});
button.disabled = false;
if (done && location.search === SAVED) {
  done.hidden = false;
  history.replaceState(null, "", location.pathname);
}
