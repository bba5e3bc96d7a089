"""What a grid file may say."""
