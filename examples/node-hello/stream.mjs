const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Counts to three; each number reaches the caller when it is written. */
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.setContentType('text/plain');
  for (let n = 1; n <= 3; n++) {
    stream.write(`${n}\n`);
    await pause(event.pause ?? 200);
  }
  stream.end();
});
