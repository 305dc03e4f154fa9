"""Personal data: the key. Sealing itself happens in the database (schema ``privacy``)."""
