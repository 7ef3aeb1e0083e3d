"""Files whose values are measurements: satellite rasters, medical images, microscopy; read and written whole."""
