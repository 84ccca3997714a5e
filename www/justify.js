// Justified rows: pictures keep their shape, rows fill the width.

/**
 * @param {number[]} ratios width over height of each picture
 * @param {number} width of the box
 * @param {number} target height a row should have, more or less
 * @param {number} gap between pictures and between rows
 * @returns {{boxes: {x: number, y: number, width: number, height: number}[], width: number, height: number}}
 *   the width is less than what was given when all fits into a part of one row
 */
export function justify(ratios, width, target, gap) {
  const boxes = [];
  let y = 0;
  let start = 0;
  let sum = 0;

  const close = (end, full) => {
    const room = width - gap * (end - start - 1);
    // A last row that is not full keeps the usual height; no row may tower over the others.
    const limit = full ? target * 1.6 : target;
    const fills = room / sum <= limit;
    const height = Math.round(fills ? room / sum : limit);
    let x = 0;
    for (let i = start; i < end; i++) {
      const w = fills && i === end - 1 ? width - x : Math.min(Math.round(ratios[i] * height), width);
      boxes.push({ x, y, width: w, height });
      x += w + gap;
    }
    y += height + gap;
    start = end;
    sum = 0;
  };

  for (let i = 0; i < ratios.length; i++) {
    const heightWith = (width - gap * (i - start)) / (sum + ratios[i]);
    if (heightWith >= target) { // still room in this row
      sum += ratios[i];
      continue;
    }
    // Break before or after this picture, whichever is closer to the target.
    const heightWithout = sum ? (width - gap * (i - start - 1)) / sum : Infinity;
    if (heightWithout - target < target - heightWith) {
      close(i, true);
      sum = ratios[i];
      if (width / sum < target) close(i + 1, true);
    } else {
      sum += ratios[i];
      close(i + 1, true);
    }
  }
  if (start < ratios.length) close(ratios.length, false);
  const used = boxes.length && boxes.at(-1).y === 0 ? boxes.at(-1).x + boxes.at(-1).width : width;
  return { boxes, width: used, height: Math.max(0, y - gap) };
}
