"""The carrier that parses with llhttp, the parser of Node.js, and goes straight to the endpoint."""
