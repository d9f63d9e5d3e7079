"""Extensions: one idea per file or folder, written with the core's public interfaces. The core never imports them; they never import each other."""
