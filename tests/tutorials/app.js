// The same application as app.py, in Node: node app.js HOST PORT NAME
const http = require("http");
const [host, port, name] = process.argv.slice(2);

http.createServer((request, response) => {
  const seen = { app: name, method: request.method, path: request.url, fields: request.headers };
  if (request.url.startsWith("/page")) {
    response.setHeader("Content-Type", "text/html");
    return response.end("<p>a page that compresses well</p>\n".repeat(200));
  }
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(seen));
}).listen(Number(port), host);
