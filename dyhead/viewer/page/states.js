// The states of objects, by their numbers in the server's answers, and what is an error.

import { info } from "./server.js";

export const STATES = ["found", "mistaken", "missed", "crowd", ""];
export const STATE_MISSED = 2;

export function isError(kind) {
  return !info.no_errors.includes(kind);
}
