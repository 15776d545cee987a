// The kinds of detections and the states of objects, by their numbers in the server's answers.

export const MISSED = 6;

export const KINDS = [
  ["matched", "finds an object of its class: an IoU of at least 0.5 (IoU: common area over joint area)"],
  ["wrong class", "an IoU of at least 0.5 with an object of another class"],
  ["badly placed", "an IoU of 0.1 to 0.5 with an object of its class"],
  ["wrong class, badly placed", "an IoU of 0.1 to 0.5 with an object of another class"],
  ["duplicate", "on an object that a more certain prediction has found"],
  ["background", "an IoU of at most 0.1 with every object"],
  ["missed", "an object that nothing finds, and no badly placed or wrongly named prediction aims at"],
  ["in a crowd", "half of it lies in a crowd of its class: not counted"],
];

export const STATES = ["found", "mistaken", "missed", "crowd", ""];
export const STATE_MISSED = 2;

const NO_ERRORS = [0, 7];

export function isError(kind) {
  return !NO_ERRORS.includes(kind);
}
