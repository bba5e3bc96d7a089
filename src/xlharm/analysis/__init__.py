"""What came out, as tables and statistics: reads the plan and the store, changes neither. No torch, no Ray."""
