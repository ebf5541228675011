"""Where frames come from: one module a source behind one protocol."""
