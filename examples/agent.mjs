// An agent of your own over HTTP, without any package: node examples/agent.mjs
// Then in voicemedia.toml: agent = "remote" in a route, and [agents.remote] url = "http://127.0.0.1:9000/"
import { createServer } from "node:http";

function answer(event) {
  switch (event.event) {
    case "greet":
      return [{ say: "Hello. Ask me for the opening hours.", expect: { phrases: ["opening hours", "goodbye"] } }];
    case "said":
      if (/goodbye/i.test(event.text)) return [{ say: "Goodbye.", interruptible: false, hang_up: true }];
      if (/hours|open/i.test(event.text)) return [{ say: "We are open from nine to five." }, { say: "Anything else?" }];
      return [{ say: event.text ? `You said ${event.text}.` : "Sorry, I did not understand." }];
    default:
      return []; // start, heard, interrupted, over: nothing to say
  }
}

const server = createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  const commands = answer(JSON.parse(body));
  // One command a line: write a line as soon as you know it, the end of the answer is the end of the turn.
  response.end(commands.map((command) => JSON.stringify(command) + "\n").join(""));
});
server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/`));
