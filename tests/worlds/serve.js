// A real node http server, run as a child process by servers.py.
//
// serve.js one HOST PORT V6ONLY   serve until standard input ends
// serve.js batch                  one "HOST PORT V6ONLY" per line: start, answer OK or FAIL, close
//
// HOST * means that listen() is given no host.
"use strict";

const http = require("http");

function start(host, port, v6only, ready, failed) {
  const server = http.createServer((request, response) => response.end("portguard test server\n"));
  const options = { port: Number(port), ipv6Only: v6only === "1" };
  if (host !== "*") options.host = host;
  server.once("error", failed);
  try {
    server.listen(options, () => ready(server));
  } catch (error) { // an impossible port number is thrown, not reported
    failed(error);
  }
}

function one(host, port, v6only) {
  start(host, port, v6only, (server) => {
    console.log(`READY ${server.address().port}`);
    process.stdin.resume();
    process.stdin.on("end", () => process.exit(0));
  }, (error) => {
    console.error(`${error.code}: ${error.message}`);
    process.exit(1);
  });
}

function batch() {
  const lines = require("readline").createInterface({ input: process.stdin });
  let queue = Promise.resolve();
  lines.on("line", (line) => {
    const [host, port, v6only] = line.split(" ");
    queue = queue.then(() => new Promise((done) => {
      const answer = (text) => { process.stdout.write(text + "\n"); done(); };
      start(host, port, v6only,
        (server) => server.close(() => answer("OK")),
        (error) => answer(`FAIL ${error.code || error.message}`));
    }));
  });
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "batch") batch();
else one(...rest);
