"""What came out: tables, figures, the HTML page, the W&B mirror. Reads the plan and the store, changes neither."""
