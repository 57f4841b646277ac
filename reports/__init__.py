"""Reports: from a stored result to tables, plots, one page, and what Allure shows besides."""
