"""What errors mean, in words for people. No error class of our own (``errors``), and nothing is tried again here."""
