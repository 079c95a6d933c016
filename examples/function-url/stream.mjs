// Counts to ten, a line every 200 ms: each line is at the client when it is written, not when the function ends.
import { setTimeout } from "node:timers/promises";

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const out = awslambda.HttpResponseStream.from(stream, {
    statusCode: 200,
    headers: { "content-type": "text/plain" },
  });
  for (let number = 1; number <= 10; number++) {
    out.write(`${number} at ${new Date().toISOString()}\n`);
    await setTimeout(200);
  }
  out.end();
});
