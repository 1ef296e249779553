"""What a data set is: declared, read, made into batches."""
