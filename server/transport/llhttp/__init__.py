"""The transport that parses with llhttp, the parser of Node.js, and calls endpoints directly."""
