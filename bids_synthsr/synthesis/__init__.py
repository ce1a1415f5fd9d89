"""Label maps in, random thick-slice exams out."""
