// Moves a picture that is larger than its stage, which scrolls.

// Lets the stage be dragged by a mouse or a pen; fingers and wheels scroll it by themselves.
export function makeDraggable(stage) {
  let start = null; // the place of the pointer on what is scrolled
  stage.addEventListener("pointerdown", (event) => {
    const isOnBar = !event.target.closest(".picture");
    if (event.button || event.pointerType === "touch" || isOnBar || !isLarger(stage)) return;
    start = [event.clientX + stage.scrollLeft, event.clientY + stage.scrollTop];
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("is-dragged");
  });
  stage.addEventListener("pointermove", (event) => {
    if (start) stage.scrollTo(start[0] - event.clientX, start[1] - event.clientY);
  });
  stage.addEventListener("lostpointercapture", () => {
    start = null;
    stage.classList.remove("is-dragged");
  });
  stage.addEventListener("dragstart", (event) => event.preventDefault()); // of the image alone
}

// Moves the view by an eighth of the stage.
export function moveView(stage, columns, rows) {
  stage.scrollBy(
    columns * Math.round(stage.clientWidth / 8), rows * Math.round(stage.clientHeight / 8));
}

// Changes the picture, and keeps what was in the middle of the stage there.
export function keepMiddle(stage, change) {
  const x = (stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth;
  const y = (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight;
  change();
  stage.classList.toggle("is-enlarged", isLarger(stage));
  stage.scrollTo(
    Math.round(x * stage.scrollWidth - stage.clientWidth / 2),
    Math.round(y * stage.scrollHeight - stage.clientHeight / 2));
}

function isLarger(stage) {
  return stage.scrollWidth > stage.clientWidth || stage.scrollHeight > stage.clientHeight;
}
