// Mark the part of an image that was classified.

// `image` shows a picture of `width` x `height`, scaled to fit into it; `region` is left, top, width, height as
// fractions of the picture, or null.
export function markRegion(box, image, width, height, region) {
  box.hidden = !region;
  if (!region) return;
  const scale = Math.min(image.clientWidth / width, image.clientHeight / height);
  const left = (image.clientWidth - width * scale) / 2;
  const top = (image.clientHeight - height * scale) / 2;
  box.style.left = `${image.offsetLeft + left + region[0] * width * scale}px`;
  box.style.top = `${image.offsetTop + top + region[1] * height * scale}px`;
  box.style.width = `${region[2] * width * scale}px`;
  box.style.height = `${region[3] * height * scale}px`;
}
