// What is wrong with a page for who sees it: texts too faint, what is wider than the window, fields without a label.
() => {
  const numbers = (colour) => {
    const found = colour.match(/[\d.]+/g).map(Number);
    const scale = colour.startsWith("color(") ? 255 : 1;
    return [...found.slice(0, 3).map((each) => each * scale), found[3] ?? 1];
  };
  const over = (upper, lower) => upper.slice(0, 3).map((each, index) => each * upper[3] + lower[index] * (1 - upper[3]));
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((each) => {
      const share = each / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.unshift(numbers(getComputedStyle(each).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const contrast = (element) => {
    const ground = behind(element);
    const [light, dark] = [luminance(over(numbers(getComputedStyle(element).color), ground)), luminance(ground)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const readers = new Set();
  while (texts.nextNode()) {
    const parent = texts.currentNode.parentElement;
    if (texts.currentNode.data.trim() && parent.checkVisibility() && !parent.closest("svg, script, style")) readers.add(parent);
  }
  const wide = document.documentElement;
  const scrolls = (element) => element.closest(".table, pre, nav, svg, .visually-hidden, .skip");
  const fields = [...document.querySelectorAll("input:not([type=hidden]), select, textarea, progress")];
  const pictures = [...document.querySelectorAll("img, [role=img], figure.chart")];
  return {
    language: wide.lang.slice(0, 2),
    headings: document.querySelectorAll("h1").length,
    wider:
      wide.scrollWidth > wide.clientWidth
        ? [`${wide.scrollWidth} in ${wide.clientWidth}`].concat(
            [...document.body.querySelectorAll("*")]
              .filter((each) => each.getBoundingClientRect().right > wide.clientWidth + 1 && !scrolls(each))
              .map((each) => each.outerHTML.slice(0, 120)),
          )
        : [],
    faint: [...readers].filter((each) => contrast(each) < 4.5).map((each) => `${contrast(each).toFixed(2)} ${each.outerHTML.slice(0, 120)}`),
    unlabelled: [
      ...fields.filter((each) => !each.labels?.length && !each.ariaLabel),
      ...pictures.filter((each) => !(each.alt || each.ariaLabel || each.querySelector("figcaption")?.textContent.trim())),
    ].map((each) => each.outerHTML.slice(0, 120)),
  };
}
