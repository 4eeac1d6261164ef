const filter = document.querySelector(".filter");
if (filter) {
  const shown = document.querySelector("#shown");
  const apply = () => {
    const wanted = Object.fromEntries(new FormData(filter));
    let count = 0;
    for (const card of document.querySelectorAll(".card")) {
      for (const item of card.querySelectorAll("[data-kind]")) {
        const fits = (!wanted.kind || item.dataset.kind === wanted.kind)
          && (!wanted.benchmark || item.dataset.benchmark === wanted.benchmark)
          && (!wanted.variant || JSON.parse(item.dataset.variants).includes(wanted.variant))
          && item.textContent.toLowerCase().includes(wanted.text.toLowerCase());
        item.hidden = !fits;
        count += fits;
      }
      card.hidden = !card.querySelector("[data-kind]:not([hidden])");
    }
    shown.textContent = `${count} shown`;
  };
  filter.hidden = false;
  filter.addEventListener("input", apply);
  filter.addEventListener("submit", event => event.preventDefault());
}
