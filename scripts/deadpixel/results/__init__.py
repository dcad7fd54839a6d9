"""What is concluded: statistics, tables and figures, beside the paper's."""
