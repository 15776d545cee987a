// Requests to the server that the page came from.

export let info = null; // title, token, sides, kinds, and the data sets with their classes

export async function getJson(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

export async function loadInfo() {
  info = await getJson("sets.json");
  return info;
}

// Returns the address of the smallest copy of a picture that fills some pixels of the screen.
export function pictureAddress(set, picture, pixels) {
  const wanted = pixels * Math.min(devicePixelRatio, 2);
  const found = info.sides.findIndex((side) => side >= wanted);
  const side = found < 0 ? info.sides.length - 1 : found;
  return `picture/${info.token}/${set}/${picture}/${side}`;
}

// Lets one request run at a time; of those that come meanwhile the latest follows.
export function latestOnly(request) {
  let isRunning = false;
  let isWanted = false;
  return async function run() {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    try {
      while (isWanted) {
        isWanted = false;
        await request();
      }
    } finally {
      isRunning = false;
    }
  };
}
