[alembic]
script_location = ${script_location}

# Put on sys.path first, so that env.py can import your models. "." is where alembic runs.
prepend_sys_path = .
path_separator = os

# Which database. Write a % in the password as %%.
sqlalchemy.url = postgresql+psycopg://user:password@localhost/database

# How long a migration waits for a lock before it gives up, so that nobody queues up behind it.
# 0 waits for ever.
lock_timeout = 5s

# Name revisions by day, so that they sort.
file_template = %%(year)d_%%(month).2d_%%(day).2d_%%(rev)s_%%(slug)s

[loggers]
keys = root,sqlalchemy,alembic,plugins

[handlers]
keys = console

[formatters]
keys = line

[logger_root]
level = WARNING
handlers = console

[logger_sqlalchemy]
level = WARNING
handlers =
qualname = sqlalchemy.engine

[logger_alembic]
level = INFO
handlers =
qualname = alembic

[logger_plugins]
level = WARNING
handlers =
qualname = alembic.runtime.plugins

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = line

[formatter_line]
format = %(levelname)s %(message)s
