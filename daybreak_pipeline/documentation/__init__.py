"""What is made from the catalog of the database: the data dictionary, the diagram, and the models of applications.

What a table or a column means is said in one place, ``COMMENT ON`` in the migrations; here it is put into the form that
somebody else reads. Nothing here changes a database.
"""
