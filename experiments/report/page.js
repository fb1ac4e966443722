// Sorts tables by a column, enlarges a grid of samples, and picks out one series of a figure. The
// page is complete without it.
for (const image of document.querySelectorAll('.images img')) image.onclick = () => {
  const was = image.classList.contains('large');
  document.querySelectorAll('img.large').forEach(other => other.classList.remove('large'));
  image.classList.toggle('large', !was);
};
document.addEventListener('keydown', event => {
  if (event.key === 'Escape') document.querySelectorAll('img.large').forEach(i => i.classList.remove('large'));
});
for (const button of document.querySelectorAll('th button')) button.onclick = () => {
  const head = button.parentElement, table = head.closest('table'), body = table.tBodies[0];
  const column = [...head.parentElement.children].indexOf(head);
  const up = head.getAttribute('aria-sort') !== 'ascending';
  for (const other of head.parentElement.children) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
  const key = row => row.cells[column].dataset.order ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    if (a === '' || b === '') return (a === '') - (b === '');  // empty cells stay last
    const order = isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, {numeric: true}) : a - b;
    return up ? order : -order;
  };
  [...body.rows].sort((a, b) => compare(key(a), key(b))).forEach(row => body.append(row));
};
for (const figure of document.querySelectorAll('figure')) {
  const all = figure.querySelectorAll('[data-series]');
  for (const entry of all) {
    const dim = on => all.forEach(x => x.classList.toggle('dim', on && x.dataset.series !== entry.dataset.series));
    entry.addEventListener('mouseenter', () => dim(true));
    entry.addEventListener('mouseleave', () => dim(false));
  }
}
